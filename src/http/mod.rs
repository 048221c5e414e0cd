//! REST: the route table, the extractors, the handlers by noun, and the one error mapping.
