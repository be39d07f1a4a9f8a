-- A new certificate for HOST_A without a dropped connection: first everybody knows it, then it is used.
USE master;
CREATE CERTIFICATE HOST_A_cert_2 WITH SUBJECT = 'HOST_A mirroring identity 2', EXPIRY_DATE = '2046-01-01';
BACKUP CERTIFICATE HOST_A_cert_2 TO FILE = 'HOST_A_cert_2.cer';
GO
-- on every other host: CREATE CERTIFICATE HOST_A_cert_2 AUTHORIZATION HOST_A_user FROM FILE = 'HOST_A_cert_2.cer';
ALTER ENDPOINT Endpoint_Mirroring FOR DATABASE_MIRRORING ( AUTHENTICATION = CERTIFICATE HOST_A_cert_2 );
GO
