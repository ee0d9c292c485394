local core = require "discover.core"
local discover = require "discover"
local shape = require "discover.shape"

local function to(text, what)
  return shape.convert(core.json_decode(text), what)
end

local function refused(expected, text, what)
  local value, why, code = to(text, what)
  assert.is_nil(value)
  assert.equal("invalid: " .. expected, why)
  assert.equal("invalid", code)
end

describe("#api shape", function()
  it("takes fields, lists and maps apart", function()
    local what = { id = "integer", name = "string", tags = { "string" }, scores = { ["*"] = "number" } }
    assert.same({ id = 7, name = "n", tags = { "a", "b" }, scores = { x = 1, y = 2.5 } },
      to('{"id":7,"name":"n","tags":["a","b"],"scores":{"x":1,"y":2.5},"more":1}', what))
    assert.same({}, to("[]", { "string" }))
    assert.same({}, to("{}", { ["*"] = "string" }))
    assert.equal(5, to("5", "integer"))
    assert.equal("invalid", select(3, to("9e44", "integer"))) -- whole, but no integer of 64 bits holds it
    assert.equal(true, to("true", "boolean"))
    assert.same({ a = 1 }, to('{"a":1}', "any"))
  end)

  it("knows what may be missing", function()
    assert.same({}, to('{"a":null}', { a = "string?", b = "integer?" }))
    refused("a: expected string, got nothing", "{}", { a = "string" })
    refused("a: expected string, got nothing", '{"a":null}', { a = "string" })
    refused("a: expected a list, got nothing", "{}", { a = { "any" } })
    assert.equal(discover.null, to('{"a":null}', { a = "any" }).a)
    local list = to("[1,null,3]", { "integer?" })
    assert.equal(3, #list)
    assert.equal(discover.null, list[2])
  end)

  it("converts digits both ways and loses none", function()
    assert.equal(12, to('"12"', "integer"))
    assert.equal(12.5, to('"12.5"', "number"))
    assert.equal("12", to("12", "string"))
    assert.equal("12.5", to("12.5", "string"))
    assert.equal("9007199254740993", to("9007199254740993", "string"))
    assert.equal("92233720368547758079", to("92233720368547758079", "string"))
    refused('expected integer, got "92233720368547758079"', "92233720368547758079", "integer")
    refused('expected number, got "92233720368547758079"', "92233720368547758079", "number")
    assert.equal(7, to("7.0", "integer"))
    if math.type then
      assert.equal("integer", math.type(to('"9007199254740993"', "integer")))
      assert.equal("9223372036854775807", tostring(to('"9223372036854775807"', "integer")))
    else
      refused('expected integer, got "9007199254740993"', '"9007199254740993"', "integer")
    end
  end)

  it("names the path of what does not fit", function()
    refused('user.age: expected integer, got "x"', '{"user":{"age":"x"}}', { user = { age = "integer" } })
    refused("l[2].a: expected boolean, got 1", '{"l":[{"a":true},{"a":1}]}', { l = { { a = "boolean" } } })
    refused("expected an object, got a list", "[]", { a = "any?" })
    refused("expected a list, got an object", "{}", { "any" })
    refused("m.k: expected number, got true", '{"m":{"k":true}}', { m = { ["*"] = "number" } })
    refused("expected integer, got 1.5", "1.5", "integer")
    refused('expected integer, got "0x10"', '"0x10"', "integer")
    refused('expected number, got " 1"', '" 1"', "number")
    refused("expected string, got an object", "{}", "string")
  end)

  it("raises when it is no shape itself", function()
    for _, what in ipairs { "strin", "String", "", "string??", { a = 5 }, { a = "x" }, { "string", "string" },
                            { ["*"] = "string", a = "string" }, { [2] = "string" }, { a = { b = false } } } do
      assert.has_error(function() to("{}", what) end)
    end
    assert.error_matches(function() to("1", nil) end, "bad shape")
    local _, why = pcall(to, "1", ("\n\27[2J"):rep(10000))
    assert.is_true(#why < 400 and not why:find "%c", #why)
    assert.error_matches(function() to('{"a":1}', { a = "int" }) end, "known: string, number, integer")
    local cycle = {}
    cycle.again = cycle
    assert.error_matches(function() to("{}", cycle) end, "more than 100 levels")
  end)
end)
