#!/usr/bin/python3
"""check_meta.py: is META.json what the PGXN meta specification 1.0.0 asks for?

    tools/packaging/check_meta.py

The rules are those of the specification's text: required and known keys, terms,
semantic versions, licenses, phases and relations.  Files that it names must be
there.  Says what is wrong, a line each, and fails; or says nothing.
"""

import json
import os
import re
import sys

LICENSES = """agpl_3 apache_1_1 apache_2_0 artistic_1 artistic_2 bsd freebsd
gfdl_1_2 gfdl_1_3 gpl_1 gpl_2 gpl_3 lgpl_2_1 lgpl_3_0 mit mozilla_1_0 mozilla_1_1
openssl perl_5 postgresql qpl_1_0 ssleay sun zlib open_source restricted
unrestricted unknown""".split()
REQUIRED = "name version abstract maintainer license provides meta-spec".split()
OPTIONAL = "description generated_by no_index prereqs release_status resources tags".split()
PHASES = "configure runtime build test develop".split()
RELATIONS = "requires recommends suggests conflicts".split()
SEMVER = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
                    r"(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?(\+[0-9A-Za-z.-]+)?")
problems = []


def need(fine, what):
    if not fine:
        problems.append(f"META.json: {what}")


def is_text(value):
    return isinstance(value, str) and value.strip() != ""


def is_term(value):
    """A name: two characters or more, no slash, blank or control character."""
    return isinstance(value, str) and re.fullmatch(r"[^\s/\\\x00-\x1f\x7f]{2,}", value)


def is_version(value):
    return isinstance(value, str) and SEMVER.fullmatch(value)


def is_range(value):
    """A version, or some with operators; 0 is "any"."""
    if value == 0:
        return True
    return isinstance(value, str) and all(
        is_version(re.sub(r"^\s*(<=|>=|==|!=|<|>)?\s*", "", part).strip())
        for part in value.split(","))


def check_license(value):
    if isinstance(value, dict):
        return bool(value) and all(re.match(r"https?://", str(url)) for url in value.values())
    names = value if isinstance(value, list) else [value]
    return bool(names) and all(name in LICENSES for name in names)


def check_provides(provides):
    need(isinstance(provides, dict) and provides, "provides nothing")
    for name, extension in provides.items():
        need(is_term(name), f"provides: {name} is no term")
        unknown = set(extension) - {"file", "version", "abstract", "docfile"}
        need(not [key for key in unknown if not key.lower().startswith("x_")],
             f"provides {name}: {unknown} is not known")
        need(is_version(extension.get("version")), f"provides {name}: version")
        for key in ("file", "docfile"):
            if key == "file" or key in extension:
                need(is_text(extension.get(key)) and os.path.isfile(extension[key]),
                     f"provides {name}: {key} does not exist")


def check_prereqs(prereqs):
    for phase, relations in prereqs.items():
        need(phase in PHASES, f"prereqs: {phase} is no phase")
        for relation, wanted in relations.items():
            need(relation in RELATIONS, f"prereqs {phase}: {relation}")
            for name, version in wanted.items():
                need(is_term(name) and is_range(version), f"prereqs {phase}: {name} {version}")


def check(meta):
    for key in REQUIRED:
        need(key in meta, f"{key} is missing")
    for key in meta:
        need(key in REQUIRED + OPTIONAL or key.lower().startswith("x_"),
             f"{key} is not known")
    if problems:
        return
    need(is_term(meta["name"]), "name is no term")
    need(is_version(meta["version"]), f"{meta['version']} is no semantic version")
    need(is_text(meta["abstract"]), "abstract is empty")
    people = meta["maintainer"]
    people = people if isinstance(people, list) else [people]
    need(people and all(map(is_text, people)), "maintainer is empty")
    need(check_license(meta["license"]), f"license {meta['license']} is not known")
    check_provides(meta["provides"])
    check_prereqs(meta.get("prereqs", {}))
    need(meta.get("release_status", "stable") in ("stable", "testing", "unstable"),
         "release_status")
    for key in ("description", "generated_by"):
        need(key not in meta or is_text(meta[key]), f"{key} is empty")
    for tag in meta.get("tags", []):
        need(is_text(tag) and len(tag) < 256 and not re.search(r"[/\\\x00-\x1f]", tag),
             f"tag {tag}")
    need(re.fullmatch(r"1\.0\.\d+", meta["meta-spec"].get("version", "")), "meta-spec")


def main():
    with open("META.json", encoding="utf-8") as file:
        check(json.load(file))
    for problem in problems:
        print(problem, file=sys.stderr)
    sys.exit(1 if problems else 0)


main()
