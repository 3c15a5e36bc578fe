//! Resource Manager and DevTest Labs as their callers see them, under virtual time.

mod azure;
mod capacity;
mod catalogue;
mod chaos;
mod custom_images;
mod deployments;
mod disks;
mod front_door;
mod labs;
mod marketplace;
mod roles;
mod service_bus;
mod virtual_machines;
