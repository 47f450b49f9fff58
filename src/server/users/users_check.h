/*-------------------------------------------------------------------------
 *
 * users_check.h
 *	  What the values of a user must be.
 *
 * src/server/users/users_check.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_USERS_CHECK_H
#define BS_USERS_CHECK_H

/* The columns that are looked at. */
typedef enum BsUserColumn
{
	BS_USER_FIRST_NAME,
	BS_USER_LAST_NAME,
	BS_USER_EMAIL,
	BS_USER_TIMEZONE,
	BS_USER_BIRTHDAY_DATE,
	BS_USER_ANNIVERSARY_DATE,
	BS_USER_LOCATION_CITY,
	BS_USER_LOCATION_COUNTRY,
	BS_USER_COLUMN_COUNT
} BsUserColumn;

typedef struct BsUserColumnInfo
{
	const char *name;
	Oid			type;			/* varchar or date */
	int			max_chars;		/* of a varchar */
	bool		required;		/* NOT NULL, and not empty */
} BsUserColumnInfo;

extern const BsUserColumnInfo bs_user_columns[BS_USER_COLUMN_COUNT];

/* What is wrong with a value, as ereport() wants it. */
typedef struct BsUserFault
{
	BsUserColumn column;
	int			code;			/* an ERRCODE_... */
	const char *message;
	const char *hint;			/* may be NULL */
} BsUserFault;

/*
 * A user's values: text within the limit of its column, as varchar() leaves it,
 * and dates.  "changed" is for those that are new; all of an INSERT are.
 */
typedef struct BsUserValues
{
	Datum		value[BS_USER_COLUMN_COUNT];
	bool		isnull[BS_USER_COLUMN_COUNT];
	bool		changed[BS_USER_COLUMN_COUNT];
	bool		replaced[BS_USER_COLUMN_COUNT]; /* set by the check */
	BsUserFault fault;
} BsUserValues;

/*
 * Cleans the values, in the memory context of the caller, and says what was
 * replaced; false with a fault.  NULL where a value is required is no matter of
 * this check, but of the column.
 */
extern bool bs_user_check(BsUserValues *user);

/*
 * The text without white space and invisible characters at both ends; the same
 * pointer if there are none.  Controls stay, for the check to refuse them.
 */
extern text *bs_user_trim(text *value);

/* Notes a fault; false, so that a check can end with it. */
extern bool bs_user_set_fault(BsUserValues *user, BsUserColumn column, int code,
							  const char *message, const char *hint);

#endif							/* BS_USERS_CHECK_H */
