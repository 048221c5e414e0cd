//! The public JSON shapes: what tickets, orders, charges and users look like in answers and in WebSocket frames.
//!
//! One rendering for both, so that a frame's ticket is byte for byte the ticket of the REST answer. Nothing internal
//! gets through: no buyer on a ticket, no processor step, no hash.
