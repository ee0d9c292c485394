std = "max"
max_line_length = 120
codes = true
exclude_files = { "build/**", "build.luarocks/**", ".git/**" }

files["spec/**/*_spec.lua"].std = "+busted"
files["lua/discover/types.lua"] = { ignore = { "211", "212", "241", "611", "612", "631" } }
files["lua/discover/nginx.lua"].std = "+ngx_lua"
files["rockspec/*.rockspec"].std = "+rockspec"
