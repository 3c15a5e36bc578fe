//! Local stand-in for the Azure Functions host: reads host.json and the function folders, starts the custom handler, fires its triggers.
