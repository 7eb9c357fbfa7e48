"""The server-side steps, in Lua. ``storage.functions`` joins the files in the order of their names."""
