#!/usr/bin/python3
"""gen_update.py: make the part of an update script about functions and views.

    tools/gen_update.py OLD_SCRIPT NEW_SCRIPT UPDATE_SCRIPT

Compares the install scripts of two versions, made by tools/join_sql.sh, and rewrites
the end of the update script, below the line that says so.  What stands above it is
written by hand: tables, columns, data, functions that are gone or have other
arguments, and DROP VIEW for each view that has changed (or CREATE OR REPLACE VIEW if
its columns are the same: what was granted on it stays).  tools/compare_versions.sh
says whether the two together lead to the same as a fresh installation.
"""
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
    if len(sys.argv) != 4:
        sys.exit(__doc__.split('\n\n')[1].strip())
    old_script, new_script, target = sys.argv[1:]
    with open(old_script, encoding='utf-8') as script:
        old_text = script.read()
    old, old_views = functions(old_text), views(old_text)
    with open(new_script, encoding='utf-8') as script:
        new_text = script.read()
    new = functions(new_text)
    public = re.search(r'ALL \(ARRAY\[(.*?)\]\)', new_text, re.S).group(1)
    public = re.findall(r"'(\w+)'", public)

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
