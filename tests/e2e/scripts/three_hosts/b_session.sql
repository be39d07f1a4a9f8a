-- Host B first: it waits for its principal.
ALTER DATABASE Sales SET PARTNER = N'TCP://$(HOST_A):7024';
GO
