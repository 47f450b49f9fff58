#!/usr/bin/python3
"""check_sql.py: rules for the install script that keep others' objects out of it.

    tools/check_sql.py SCRIPT

They are those of pgspot, as far as they concern an extension, and some of our own:

- nothing is created with OR REPLACE or IF NOT EXISTS: what is there may be somebody
  else's;
- a function that is SECURITY DEFINER, or has a body of text, pins its search_path to
  pg_catalog, pg_temp, and sets birthday_scheduler.schema, the guard of src/server/base/bs_schema.c;
  its LANGUAGE is one that is known;
- own objects are qualified by @extschema@, and no other schema than pg_catalog, pg_temp,
  cron and the aliases of a query stands before a name in a statement that is created;
- a block that runs with the rights of the installing superuser (DO) qualifies its
  operators and types;
- EXECUTE takes names by %I and values by %L or USING; %s is for what is in UNQUOTED;
- a literal with a backslash in it is an E'' literal, which means the same whatever
  standard_conforming_strings says.

Prints what breaks a rule, a line each, and fails, or says nothing.
"""
import re
import sys

TOKEN = re.compile(r"--[^\n]*|[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|(\$\w*\$).*?\1", re.S)
PATH = 'SET search_path = pg_catalog, pg_temp\n'
GUARD = "SET birthday_scheduler.schema = '@extschema@'\n"

# What may stand for %s in a statement that is executed: it is no name that comes from
# outside, or it is quoted already.
UNQUOTED = re.compile(r"""(?x)
    .*::reg(class|procedure)            # prints itself quoted
  | part | member | source             # declared as regclass or regprocedure, see below
  | chunk                              # an integer constant
  | @extschema@\.bs_(stale_condition|partition_options|letter_octets)\(.*\)   # text of ours
  | first | past                       # by quote_literal()
  | names | jobs                       # by quote_literal() and %L
  | candidates                         # text of ours
  | rights\.(functions|tables)         # by ::regprocedure and ::regclass
  | (coalesce\()?\(SELECT\ (string_agg|format)\(.*%1?\$?I.*  # each by %I
  | CASE\ WHEN\ 'line'\ =.*            # two literals
  | '' | format\(.*%I.*                # text of ours
  | '@extschema@\.'\ \|\|\ @extschema@\.bs_partition_name\(.*\)  # digits and our own prefix
""", re.S)
DECLARED = {'part': r'\bpart (regclass|oid|text)\b', 'member': r'\bmember regprocedure\b',
            'source': r'\bsource regclass\b', 'chunk': r'\bchunk (constant )?integer\b'}

faults = []


def complain(text, position, words):
    faults.append(f'{sys.argv[1]}:{text.count(chr(10), 0, position) + 1}: {words}')


def split_arguments(text):
    """The arguments of a call, from behind its bracket on."""
    found, depth, begin, i = [], 0, 0, 0
    while i < len(text):
        token = TOKEN.match(text, i)
        if token:
            i = token.end()
            continue
        if text[i] in '([':
            depth += 1
        elif text[i] in ')]':
            if depth == 0:
                return found + [text[begin:i].strip()]
            depth -= 1
        elif text[i] == ',' and depth == 0:
            found.append(text[begin:i].strip())
            begin = i + 1
        i += 1
    return found


def check_execute(script, begin, body):
    """The %s of every statement that a body of PL/pgSQL executes."""
    for execute in re.finditer(r'\bEXECUTE\s(?!FUNCTION)', body):
        if body.rfind('--', body.rfind('\n', 0, execute.start()), execute.start()) >= 0:
            continue
        end = execute.end()
        while end < len(body) and body[end] != ';':
            token = TOKEN.match(body, end)
            end = token.end() if token else end + 1
        statement = body[execute.end():end]
        for call in re.finditer(r'\bformat\(', TOKEN.sub(lambda m: ' ' * len(m.group(0)), statement)):
            arguments = split_arguments(statement[call.end():])
            if not arguments or not re.match(r"[$']", arguments[0]):
                continue
            places = [int(n) if n else None for n in re.findall(r'%(?:(\d+)\$)?s', arguments[0])]
            every = re.findall(r'%(?:(\d+)\$)?[sIL]', arguments[0])
            order = [i + 1 for i, n in enumerate(every) if not n]
            unnumbered = [o for o, kind in zip(order, re.findall(r'%(?!\d+\$)([sIL])', arguments[0])) if kind == 's']
            for n in [p for p in places if p] + unnumbered:
                argument = arguments[n] if n < len(arguments) else '?'
                declared = DECLARED.get(argument)
                if not UNQUOTED.fullmatch(argument) or (declared and not re.search(declared, body + script[:begin][-3000:])):
                    complain(script, begin + execute.start(), f'%s takes "{argument[:60]}": use %I, %L or USING')


def check_function(script, match, head, body, begin):
    name = match.group(1)
    language = re.search(r'\bLANGUAGE (\w+)', head)
    if not language or language.group(1) not in ('c', 'C', 'sql', 'plpgsql'):
        complain(script, match.start(), f'{name} is in an unknown language')
        return
    textual = language.group(1) == 'plpgsql' or (language.group(1) == 'sql' and body is not None)
    if textual or 'SECURITY DEFINER' in head:
        if PATH not in head:
            complain(script, match.start(), f'{name} does not pin its search_path')
        if GUARD not in head:
            complain(script, match.start(), f'{name} lacks the guard: {GUARD.strip()}')
    if body is not None and language.group(1) == 'plpgsql':
        check_execute(script, begin, body)


def check(script):
    bare = TOKEN.sub(lambda m: re.sub(r'[^\n]', ' ', m.group(0)), script)
    for match in re.finditer(r'\bCREATE\s+OR\s+REPLACE\b|\bIF\s+NOT\s+EXISTS\b', bare):
        complain(script, match.start(), f'"{match.group(0)}" may take over what is somebody else\'s')
    for match in re.finditer(r'^\s*CREATE (?:UNIQUE )?(?:TABLE|VIEW|FUNCTION|TYPE|SEQUENCE|AGGREGATE|OPERATOR|DOMAIN) (\S+)', bare, re.M):
        if not match.group(1).startswith('@extschema@.'):
            complain(script, match.start(), f'{match.group(1)} is not qualified by @extschema@')
    for match in re.finditer(r'^CREATE FUNCTION @extschema@\.(\w+)\(', bare, re.M):
        rest = re.compile(r'\bAS (?=[$\'])|^BEGIN ATOMIC|^RETURN ', re.M).search(script, match.start())
        head = script[match.start():rest.start()]
        token = TOKEN.match(script, rest.end()) if rest.group(0) == 'AS ' else None
        is_body = token is not None and token.group(1) is not None
        check_function(script, match, head, token.group(0) if is_body else None, rest.end())
    for match in re.finditer(r'^DO (\$\w*\$)(.*?)\1', script, re.M | re.S):
        plain = re.sub(r"OPERATOR\(pg_catalog\.[^)]*\)|--[^\n]*|'(?:[^']|'')*'|(ERRCODE|HINT) =", '', match.group(2))
        for operator in re.finditer(r'\s(=|<>|<|>|<=|>=|~|!~|\|\||\+|-|\*|/)\s', plain):
            complain(script, match.start(), f'operator {operator.group(1)} of a DO block is not qualified')
    for token in TOKEN.finditer(script):
        quote = len(token.group(1) or '')
        for literal in TOKEN.finditer(script, token.start() + quote, token.end() - quote) if quote else [token]:
            if literal.group(0).startswith("'") and '\\' in literal.group(0):
                complain(script, literal.start(), f'{literal.group(0)[:40]} has a backslash: write it as E literal')


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding='utf-8') as file:
        check(file.read())
    print('\n'.join(faults), end='\n' if faults else '', file=sys.stderr)
    sys.exit(1 if faults else 0)


main()
