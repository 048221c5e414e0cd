//! The WebSocket: the hub and its sessions.
