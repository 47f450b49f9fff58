#!/usr/bin/env bash
# compare_versions.sh: does an update lead to what a fresh installation has?
#
#   tools/compare_versions.sh DATABASE DATABASE
#
# Both databases have the extension, one made afresh, one updated; PGHOST and the
# like say where.  Compares everything that the extension owns, and the partitions
# that its functions make, object by object: columns and their order, constraints,
# indexes, functions with their source and settings, views, triggers, rights as
# they were at the beginning (what a dump leaves out), comments, storage
# parameters, what a dump takes along.  Prints what differs and fails, or says
# nothing.
set -euo pipefail

[ $# = 2 ] || { echo "usage: $0 DATABASE DATABASE" >&2 && exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

describe() {
	psql -XAtq -v ON_ERROR_STOP=1 -d "$1" <<-'SQL'
		SET search_path = pg_catalog;
		SET client_min_messages = warning;
		CREATE TEMP TABLE ext AS
		SELECT e.*, n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
		 WHERE e.extname = 'birthday_scheduler';
		CREATE TEMP TABLE rel AS
		SELECT d.objid AS oid FROM pg_depend d JOIN ext ON ext.oid = d.refobjid
		 WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
		UNION
		SELECT i.inhrelid FROM pg_inherits i JOIN pg_depend d ON d.objid = i.inhparent AND d.deptype = 'e'
		  JOIN ext ON ext.oid = d.refobjid;
		CREATE TEMP TABLE fun AS
		SELECT d.objid AS oid FROM pg_depend d JOIN ext ON ext.oid = d.refobjid
		 WHERE d.classid = 'pg_proc'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e';
		SELECT line FROM (
		SELECT 'extension ' || extversion || ' ' || extrelocatable || ' dumps ' || coalesce((
		           SELECT string_agg(c.oid::regclass::text || ' ' || u.condition, ', ' ORDER BY c.relname)
		             FROM unnest(extconfig, extcondition) AS u (config, condition)
		                  JOIN pg_class c ON c.oid = u.config), '') FROM ext
		UNION ALL SELECT 'member ' || pg_describe_object(d.classid, d.objid, d.objsubid)
		  FROM pg_depend d JOIN ext ON ext.oid = d.refobjid
		 WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
		UNION ALL SELECT format('relation %s %s %s %s %s', c.oid::regclass, c.relkind, c.relpersistence, c.reloptions, pg_get_partkeydef(c.oid))
		  FROM pg_class c JOIN rel USING (oid)
		UNION ALL SELECT format('column %s %s %s %s null=%s default=%s storage=%s', a.attrelid::regclass,
		           row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum), a.attname, format_type(a.atttypid, a.atttypmod),
		           NOT a.attnotnull, pg_get_expr(d.adbin, d.adrelid), a.attstorage)
		  FROM pg_attribute a JOIN rel ON rel.oid = a.attrelid
		       LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
		 WHERE a.attnum > 0 AND NOT a.attisdropped
		UNION ALL SELECT format('constraint %s %s %s', conrelid::regclass, conname, pg_get_constraintdef(c.oid))
		  FROM pg_constraint c JOIN rel ON rel.oid = c.conrelid
		UNION ALL SELECT format('index %s', pg_get_indexdef(indexrelid)) FROM pg_index JOIN rel ON rel.oid = indrelid
		UNION ALL SELECT format('trigger %s', pg_get_triggerdef(t.oid)) FROM pg_trigger t JOIN rel ON rel.oid = t.tgrelid
		 WHERE NOT t.tgisinternal
		UNION ALL SELECT format('view %s %s', c.oid::regclass, pg_get_viewdef(c.oid))
		  FROM pg_class c JOIN rel USING (oid) WHERE c.relkind = 'v'
		UNION ALL SELECT format('function %s', pg_get_functiondef(oid)) FROM fun
		UNION ALL SELECT format('%s of %s: %s', CASE d.objsubid WHEN 0 THEN 'comment' ELSE 'column comment' END,
		           pg_describe_object(d.classoid, d.objoid, d.objsubid), d.description)
		  FROM pg_description d
		 WHERE (d.classoid, d.objoid) IN (SELECT 'pg_class'::regclass, oid FROM rel UNION ALL SELECT 'pg_proc'::regclass, oid FROM fun)
		UNION ALL SELECT format('rights on %s: %s', pg_describe_object(o.classid, o.oid, 0),
		           (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(o.acl) AS a))
		  FROM (SELECT 'pg_class'::regclass AS classid, c.oid, c.relacl AS acl FROM pg_class c JOIN rel USING (oid)
		        UNION ALL SELECT 'pg_proc'::regclass, p.oid, p.proacl FROM pg_proc p JOIN fun USING (oid)) o
		UNION ALL SELECT format('first rights on %s: %s', pg_describe_object(i.classoid, i.objoid, i.objsubid),
		           (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(i.initprivs) AS a))
		  FROM pg_init_privs i
		 WHERE (i.classoid, i.objoid) IN (SELECT 'pg_class'::regclass, oid FROM rel UNION ALL SELECT 'pg_proc'::regclass, oid FROM fun)
		) AS x (line) ORDER BY line COLLATE "C"
	SQL
}

describe "$1" >"$work/$1"
describe "$2" >"$work/$2"
[ -s "$work/$1" ] || { echo "the extension is not in database $1" >&2 && exit 1; }
cd "$work"
diff -U 2 "$1" "$2"
