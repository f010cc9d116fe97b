//! What a proxy needs in its namespace. Pure: the resource and the platform's settings in, objects out.
