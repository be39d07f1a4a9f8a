-- Host W: what the witness knows.
SELECT database_name, principal_server_name, mirror_server_name, role_sequence_number, partner_sync_state_desc
FROM sys.database_mirroring_witnesses;
GO
