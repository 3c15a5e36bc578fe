//! Simulated Azure: Resource Manager, DevTest Labs, Compute, Blob Storage and Service Bus as one state under one clock.
