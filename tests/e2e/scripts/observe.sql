-- What a DBA looks at: every catalog view of the certificate procedure and of a session.
SELECT name, symmetric_key_id, key_length, algorithm_desc FROM sys.symmetric_keys;
SELECT name, pvt_key_encryption_type_desc, start_date, expiry_date,
       days_left = DATEDIFF(day, GETUTCDATE(), expiry_date)
FROM sys.certificates ORDER BY name;
SELECT name, role_desc, state_desc, connection_auth_desc, encryption_algorithm_desc
FROM sys.database_mirroring_endpoints;
SELECT type_desc, port, ip_address FROM sys.tcp_endpoints;
GO
-- Who may connect, and which certificate proves it.
SELECT p.name AS login, c.name AS [certificate], e.name AS endpoint, s.permission_name, s.state_desc
FROM sys.server_permissions AS s
JOIN sys.server_principals AS p ON p.principal_id = s.grantee_principal_id
JOIN sys.endpoints AS e ON e.endpoint_id = s.major_id AND s.class = 105
LEFT JOIN sys.database_principals AS u ON u.sid = p.sid
LEFT JOIN sys.certificates AS c ON c.principal_id = u.principal_id
WHERE s.type = 'CO'
ORDER BY p.name;
GO
SELECT DB_NAME(database_id) AS [database], mirroring_role_desc, mirroring_state_desc,
       mirroring_safety_level_desc, mirroring_partner_name, mirroring_witness_name,
       mirroring_witness_state_desc, mirroring_role_sequence, mirroring_safety_sequence,
       mirroring_failover_lsn
FROM sys.database_mirroring
WHERE mirroring_guid IS NOT NULL;
SELECT state_desc, login_state_desc, is_accept, principal_name, peer_certificate_id, encryption_algorithm_desc
FROM sys.dm_db_mirroring_connections;
SELECT TOP (20) * FROM sys.dm_dbmirror_errors;
EXEC sp_readerrorlog;
GO
