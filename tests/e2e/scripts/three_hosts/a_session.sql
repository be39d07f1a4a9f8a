-- Host A second: the session starts here.
ALTER DATABASE Sales SET PARTNER = N'TCP://$(HOST_B):7024';
GO
ALTER DATABASE Sales SET WITNESS = N'TCP://$(HOST_W):7024';
GO
