-- Host B: who the two others are.
USE master;
CREATE LOGIN A_login WITH PASSWORD = 'In#A-on-B-93';  CREATE USER A_user FOR LOGIN A_login;
CREATE CERTIFICATE A_cert AUTHORIZATION A_user FROM FILE = 'A_cert.cer';
GRANT CONNECT ON ENDPOINT::Endpoint_Mirroring TO [A_login];
CREATE LOGIN W_login WITH PASSWORD = 'In#W-on-B-93';  CREATE USER W_user FOR LOGIN W_login;
CREATE CERTIFICATE W_cert AUTHORIZATION W_user FROM FILE = 'W_cert.cer';
GRANT CONNECT ON ENDPOINT::Endpoint_Mirroring TO [W_login];
GO
