-- build - which build of the module and which Lua belong together.
--
--   build.folder        -- $DISCOVER_BUILD, else that of the running Lua: build/dev for 5.4, build/lua51, build/luajit
--   build.interpreter   -- the program that loads that build
--   build.headers       -- the folder of its header files
--   build.asked         -- whether the running Lua was chosen by whoever started it
--
-- Read by .busted too, where require finds nothing yet.
local build = {}

local jit = rawget(_G, "jit")
local version = _VERSION:match "%d+%.%d+"

-- Debian's busted starts as plain `lua`, whatever that is: it has asked for no Lua, so the build decides.
build.asked = not (arg and (arg[-1] or ""):match "[^/]*$" == "lua")

build.folder = os.getenv "DISCOVER_BUILD"
if not build.folder then
  local own = jit and "luajit" or "lua" .. version:gsub("%.", "")
  build.folder = "build/" .. ((own == "lua54" or not build.asked) and "dev" or own)
end

local name = build.folder:match "[^/]*$"
if build.asked then
  build.interpreter = jit and "luajit" or "lua" .. version
elseif name == "luajit" then
  build.interpreter = "luajit"
else
  build.interpreter = "lua5." .. (name:match "^lua5(%d)$" or "4")
end

build.headers = jit and "/usr/include/luajit-2.1" or "/usr/include/lua" .. version

return build
