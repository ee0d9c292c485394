--- discover.ffi - d:pick for LuaJIT without the Lua C API, which its compiler can't see through.
--
--     local picker = require "discover.ffi".picker(d)
--     local node, why, code = picker.pick "user-service"
--     if node then
--       connect(picker.addr(node))
--       picker.done(node, true)
--     end
--
-- Only on LuaJIT, and only while d has no balancer, logger or on_event of its own in Lua: then pick is nil, message,
-- "callback". A node is a plain pointer here: it must be given to done() exactly once, and not be used after it.
local core = require "discover.core"

local ok, ffi = pcall(require, "ffi")
if not ok or not jit then error "discover.ffi: this is not LuaJIT" end

ffi.cdef [[
typedef struct dsc_lua_discoverer dsc_lua_discoverer;
typedef struct dsc_node dsc_node;
dsc_node *dsc_ffi_pick(dsc_lua_discoverer *box, const char *app, size_t app_len, const char *key, size_t key_len,
                       const char **code, char *why);
const char *dsc_ffi_addr(const dsc_node *node);
const char *dsc_ffi_host(const dsc_node *node);
int dsc_ffi_port(const dsc_node *node);
void dsc_ffi_done(dsc_lua_discoverer *box, dsc_node *node, bool ok);
]]

local library = ffi.load(assert(package.searchpath("discover.core", package.cpath)))
local code, why = ffi.new "const char *[1]", ffi.new "char[256]"
local host, port, addr, done = library.dsc_ffi_host, library.dsc_ffi_port, library.dsc_ffi_addr, library.dsc_ffi_done

-- Of pick and done, which have but a raw pointer: their discoverer lives as long as either does.
local kept = setmetatable({}, { __mode = "k" })

local module = {}

--- picker(d) -> {pick, addr, host, port, done}: functions for one discoverer, which each of pick and done keeps.
function module.picker(d)
  core.methods.discoverer.is_client(d) -- raises for anything else
  local box = ffi.cast("dsc_lua_discoverer *", d)
  local picker = { discoverer = d }

  --- pick(app [, key]) -> node | nil, msg, code: as d:pick(app, {key = key}).
  function picker.pick(app, key)
    local node = library.dsc_ffi_pick(box, app, #app, key, key and #key or 0, code, why)
    if node ~= nil then return node end
    local name = ffi.string(code[0])
    return nil, name .. ": " .. ffi.string(why), name
  end

  --- addr(node) -> "host:port"; host(node) -> the host without brackets; port(node) -> number.
  function picker.addr(node) return ffi.string(addr(node)) end
  function picker.host(node) return ffi.string(host(node)) end
  function picker.port(node) return port(node) end

  --- done(node [, ok]): reports how it went (true unless false is given); the node is given back.
  function picker.done(node, success) done(box, node, success ~= false) end

  kept[picker.pick], kept[picker.done] = d, d
  return picker
end

return module
