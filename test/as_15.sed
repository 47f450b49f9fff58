# What later servers word differently, in the words of 15; see tools/as_15.sh.

# 17: the limits of a setting come with their unit.
s/(outside the valid range for parameter "[^"]*") \((-?[0-9]+) (s|ms|kB) \.\. (-?[0-9]+) (s|ms|kB)\)/\1 (\2 .. \4)/

# 16: a name below a reserved prefix, and a setting that may not be seen.
s/invalid configuration parameter name ("birthday_scheduler\.[^"]*")/unrecognized configuration parameter \1/
/^DETAIL:  "birthday_scheduler" is a reserved prefix\.$/d
s/permission denied to examine ("birthday_scheduler\.[^"]*")/must be superuser or have privileges of pg_read_all_settings to examine \1/
/^DETAIL:  Only roles with privileges of the "pg_read_all_settings" role may examine this parameter\.$/d

# 18: the name of a setting in a hint.
s/a different "DateStyle" setting/a different "datestyle" setting/
