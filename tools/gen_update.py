#!/usr/bin/python3
"""gen_update.py: make the part of an update script about functions and views.

    tools/gen_update.py sql/versions/birthday_scheduler--1.0.sql

Run it after "make" whenever a function, a view or a comment has changed since the
frozen version.  It compares that script with the install script and rewrites
the end of sql/updates/birthday_scheduler--OLD--NEW.sql, below the line that says
so; what stands above it is written by hand: tables, columns, data, functions that
are gone or have other arguments, and DROP VIEW for each view that has changed
(or CREATE OR REPLACE VIEW where its columns are the same: what was granted on it
stays).  tools/compare_versions.sh says whether the two together lead to the same as
a fresh installation.
"""
import os
import re
import sys

MARK = '-- Below this line: made by tools/gen_update.py.\n'
FUNCTION = re.compile(r'^CREATE FUNCTION @extschema@\.(\w+)\(', re.M)
VIEW = re.compile(r"^CREATE VIEW @extschema@\.(\w+) AS\n(?:[^;']|'(?:[^']|'')*')*;\n"
                  r"COMMENT ON VIEW @extschema@\.\1 IS\n'(?:[^']|'')*';\n", re.M)
COMMENT = re.compile(r"^COMMENT ON FUNCTION (@extschema@\.(\w+)\([^;]*?) IS\n'(?:[^']|'')*';\n", re.M)


def functions(text):
    """Name -> text with its comment, in the order of the script."""
    found = {}
    for match in FUNCTION.finditer(text):
        comment = next(c for c in COMMENT.finditer(text, match.end())
                       if c.group(2) == match.group(1))
        definition = text[match.start():comment.start()]
        if FUNCTION.search(definition, 1):
            sys.exit('no comment follows ' + match.group(1))
        found.setdefault(match.group(1), []).append(
            definition.rstrip('\n') + '\n' + comment.group(0))
    return found


def views(text):
    """Name -> text with its comment, in the order of the script."""
    return {match.group(1): match.group(0) for match in VIEW.finditer(text)}


def main():
    top = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..')
    with open(sys.argv[1], encoding='utf-8') as script:
        old_text = script.read()
    old, old_views = functions(old_text), views(old_text)
    old_version = re.search(r'--([^-]+)\.sql$', sys.argv[1]).group(1)
    with open(os.path.join(top, 'birthday_scheduler.control'), encoding='utf-8') as control:
        version = re.search(r"default_version = '(.*)'", control.read()).group(1)
    with open(os.path.join(top, f'sql/birthday_scheduler--{version}.sql'), encoding='utf-8') as script:
        new_text = script.read()
    new = functions(new_text)
    public = re.search(r'ALL \(ARRAY\[(.*?)\]\)', new_text, re.S).group(1)
    public = re.findall(r"'(\w+)'", public)

    target = os.path.join(top, f'sql/updates/birthday_scheduler--{old_version}--{version}.sql')
    with open(target, encoding='utf-8') as script:
        by_hand = script.read().split(MARK)[0]
    parts = []
    for name, texts in new.items():
        for text in texts:
            if text not in old.get(name, []):
                signature = COMMENT.search(text).group(1)
                if any(f' {signature} IS' in was for was in old.get(name, [])):
                    text = text.replace('CREATE FUNCTION', 'CREATE OR REPLACE FUNCTION', 1)
                elif name not in public:
                    text += f'REVOKE ALL ON FUNCTION {signature} FROM PUBLIC;\n'
                parts.append(text)
    for name in set(old) - set(new):
        if f'.{name}(' not in by_hand:
            sys.exit(f'{name} is gone: drop it by hand, above the mark')
    for name, text in views(new_text).items():
        if text == old_views.get(name) or f'CREATE OR REPLACE VIEW @extschema@.{name} AS' in by_hand:
            continue
        if name in old_views and f'DROP VIEW @extschema@.{name};' not in by_hand:
            sys.exit(f'the view {name} has changed: drop it by hand, above the mark')
        parts.append(text + f'REVOKE ALL ON @extschema@.{name} FROM PUBLIC;\n')
    with open(target, 'w', encoding='utf-8') as script:
        script.write(by_hand + MARK + '\n' + '\n'.join(parts))


main()
