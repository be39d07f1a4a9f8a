-- Host A: the database, a full backup and a log backup in one file.
CREATE DATABASE Sales;
ALTER DATABASE Sales SET RECOVERY FULL;
BACKUP DATABASE Sales TO DISK = 'Sales.bak' WITH FORMAT;      -- backup set 1
BACKUP LOG      Sales TO DISK = 'Sales.bak';                  -- backup set 2
GO
