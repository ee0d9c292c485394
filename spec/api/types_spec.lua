-- Every function and method is in the editor types, and nothing else is.
local core = require "discover.core"
local discover = require "discover"
local proc = require "spec.support.proc"

local text = proc.read_file(proc.root() .. "/lua/discover/types.lua")

local function documented(class, mark)
  local names = {}
  for name in text:gmatch("\nfunction " .. class .. mark .. "([%w_]+)") do names[name] = true end
  return names
end

local function functions(t)
  local names = {}
  for name, value in pairs(t) do
    if type(value) == "function" then names[name] = true end
  end
  return names
end

describe("#api types", function()
  for _, class in ipairs { "discoverer", "caller", "result", "node", "app_client", "secret", "websocket" } do
    it("describe the methods of " .. class, function()
      assert.same(functions(core.methods[class]), documented(class, ":"))
    end)
  end

  it("describe the functions of the module", function()
    assert.same(functions(discover), documented("discover", "%."))
  end)

  it("say something about each", function()
    for line, name in text:gmatch "\n([^\n]*)\nfunction ([%w_.:]+)" do
      assert.matches("^%-%-%-", line, nil, nil, name)
    end
  end)

  it("load as Lua", function()
    assert.is_function(loadfile(proc.root() .. "/lua/discover/types.lua"))
  end)

  it("are those of a module that opens once", function()
    local loaded = package.loaded["discover.core"]
    package.loaded["discover.core"] = nil
    assert.equal(loaded, require "discover.core")
    assert.equal("0.1.0", discover._VERSION)
    assert.equal("Access-Token", discover.headers.access_token)
    assert.equal("X-Client-Ip", discover.relay_headers[1])
  end)
end)
