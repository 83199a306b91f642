-- name: who_we_are
-- Which server this is, and as whom we speak to it.
SELECT current_setting('server_version') AS server,
       current_setting('server_version_num')::int AS server_number,
       current_user::text AS "user",
       quote_ident(current_user) AS typed_user,
       quote_ident(current_database()) AS typed_database,
       pg_is_in_recovery() AS is_standby,
       has_database_privilege(current_database(), 'create') AS may_create;

-- name: may_use_schema
-- Whether nothing bars us from the schema; one that is not there bars nobody.
SELECT NOT EXISTS (
           SELECT FROM pg_namespace WHERE nspname = 'orbit' AND NOT has_schema_privilege(oid, 'usage')
       ) AS may_use;

-- name: lacking_rights
-- What a daemon needs on each table, as far as we have not got it.
SELECT c.relname::text AS "table", array_agg(needed."right" ORDER BY needed."right") AS rights
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
 CROSS JOIN unnest('{select,insert,update,delete}'::text[]) AS needed ("right")
 WHERE n.nspname = 'orbit' AND c.relkind IN ('r', 'p') AND NOT c.relispartition
   AND NOT has_table_privilege(c.oid, needed."right")
 GROUP BY c.relname
 ORDER BY c.relname;

-- name: partitions_of_others
-- Only the owner of a partitioned table can make the coming days' partitions of it.
SELECT c.relname::text AS "table", quote_ident(pg_get_userbyid(c.relowner)) AS typed_owner
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = 'orbit' AND c.relkind = 'p' AND NOT c.relispartition AND NOT pg_has_role(c.relowner, 'usage')
 ORDER BY c.relname;
