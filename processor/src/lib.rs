pub mod receive;
pub mod leases;
pub mod archive;
pub mod index;
