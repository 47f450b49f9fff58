/*-------------------------------------------------------------------------
 *
 * sender_file.c
 *	  A settings file of lines "name = value", and addresses with ports.
 *
 * src/sender/sender_file.c
 *
 *-------------------------------------------------------------------------
 */
#include "sender/sender_file.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_SIZE	4096
#define LINES_MAX	10000

static char *
skip_blanks(char *c)
{
	while (*c == ' ' || *c == '\t' || *c == '\r' || *c == '\n')
		c++;
	return c;
}

/*
 * Takes a value in quotes off them, in place; the place behind it, or NULL where
 * it does not end.
 */
static char *
unquote(char *value)
{
	char	   *from = value + 1;
	char	   *to = value;

	for (;; from++)
	{
		if (*from == '\0')
			return NULL;
		if (*from == '\'' && *++from != '\'')
			break;
		*to++ = *from;
	}
	*to = '\0';
	return from;
}

/*
 * Cuts a line into name and value, in place.  False: it is no such line; an empty
 * name: there is nothing in it.
 */
static bool
split_line(char *line, char **name, char **value)
{
	char	   *end;
	char		after;

	*name = line = skip_blanks(line);
	if (*line == '\0' || *line == '#')
	{
		*line = '\0';
		return true;
	}
	while (isalnum((unsigned char) *line) || *line == '_')
		line++;
	end = line;
	line = skip_blanks(line);
	if (*line == '=')
		line = skip_blanks(line + 1);
	else if (line == end)
		return false;
	*end = '\0';
	*value = line;
	if (*line == '\'')
	{
		end = unquote(line);
		if (end == NULL)
			return false;
		end = skip_blanks(end);
		return *end == '\0' || *end == '#';
	}
	end = line + strcspn(line, " \t\r\n#");
	after = *skip_blanks(end);
	*end = '\0';
	return line != end && (after == '\0' || after == '#');
}

/*
 * The length of the next line, its end included; 0 at the end of the file, -1 where
 * the line is too long or no text.
 */
static int
read_line(FILE *file, char line[LINE_SIZE])
{
	int			len = 0;
	int			c = EOF;

	while (len < LINE_SIZE - 1 && c != '\n' && (c = getc(file)) != EOF)
	{
		if (c == '\0')
			return -1;
		line[len++] = (char) c;
	}
	line[len] = '\0';
	return len == LINE_SIZE - 1 && c != '\n' ? -1 : len;
}

bool
bs_file_read(const char *path, BsFileLine take_line,
			 char *error, size_t error_size)
{
	char		line[LINE_SIZE] = "";
	char		reason[320] = "";
	FILE	   *file = fopen(path, "re");
	int			number = 0;
	int			len;
	bool		good = true;

	if (file == NULL)
	{
		snprintf(error, error_size, "\"%s\" cannot be opened: %s", path,
				 strerror(errno));
		return false;
	}
	while (good && (len = read_line(file, line)) != 0)
	{
		char	   *name = line;
		char	   *value = line;

		if (++number > LINES_MAX)
		{
			good = false;
			snprintf(reason, sizeof(reason), "so many lines are too many");
		}
		else if (len < 0 || !split_line(line, &name, &value))
		{
			good = false;
			snprintf(reason, sizeof(reason), "it must be: name = value");
		}
		else if (*name != '\0')
			good = take_line(name, value, reason, sizeof(reason));
	}
	if (!good)
		snprintf(error, error_size, "\"%s\", line %d: %s", path, number,
				 reason);
	else if (ferror(file))
	{
		good = false;
		snprintf(error, error_size, "\"%s\" cannot be read", path);
	}
	fclose(file);
	return good;
}
