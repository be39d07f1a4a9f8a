-- Host B: the copy that will be the mirror, left RESTORING.
RESTORE DATABASE Sales FROM DISK = 'Sales.bak' WITH FILE = 1, NORECOVERY;
RESTORE LOG      Sales FROM DISK = 'Sales.bak' WITH FILE = 2, NORECOVERY;
GO
