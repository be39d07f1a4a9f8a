-- Host A: who the two others are.
USE master;
CREATE LOGIN B_login WITH PASSWORD = 'In#B-on-A-93';  CREATE USER B_user FOR LOGIN B_login;
CREATE CERTIFICATE B_cert AUTHORIZATION B_user FROM FILE = 'B_cert.cer';
GRANT CONNECT ON ENDPOINT::Endpoint_Mirroring TO [B_login];
CREATE LOGIN W_login WITH PASSWORD = 'In#W-on-A-93';  CREATE USER W_user FOR LOGIN W_login;
CREATE CERTIFICATE W_cert AUTHORIZATION W_user FROM FILE = 'W_cert.cer';
GRANT CONNECT ON ENDPOINT::Endpoint_Mirroring TO [W_login];
GO
