-- Host W: who the two others are.
USE master;
CREATE LOGIN A_login WITH PASSWORD = 'In#A-on-W-93';  CREATE USER A_user FOR LOGIN A_login;
CREATE CERTIFICATE A_cert AUTHORIZATION A_user FROM FILE = 'A_cert.cer';
GRANT CONNECT ON ENDPOINT::Endpoint_Mirroring TO [A_login];
CREATE LOGIN B_login WITH PASSWORD = 'In#B-on-W-93';  CREATE USER B_user FOR LOGIN B_login;
CREATE CERTIFICATE B_cert AUTHORIZATION B_user FROM FILE = 'B_cert.cer';
GRANT CONNECT ON ENDPOINT::Endpoint_Mirroring TO [B_login];
GO
