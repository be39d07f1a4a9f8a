//! `dbmirror sql`: scripts and queries for an instance, with sqlcmd's habits (`docs/tsql.md`, "dbmirror sql").
