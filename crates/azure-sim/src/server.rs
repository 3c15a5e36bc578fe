//! The sockets: each service of the simulator on a listener of the loopback interface.
