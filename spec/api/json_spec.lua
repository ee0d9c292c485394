local core = require "discover.core"
local discover = require "discover"

local decode, encode = core.json_decode, core.json_encode
local integers = math.type ~= nil

local function refused(expected, value)
  local text, why, code = encode(value)
  assert.is_nil(text)
  assert.equal("invalid: json: " .. expected, why)
  assert.equal("invalid", code)
end

describe("#api json, decoding", function()
  it("reads scalars", function()
    assert.equal("x", decode '"x"')
    assert.equal(true, decode "true")
    assert.equal(false, (decode "false"))
    assert.equal(discover.null, decode "null")
    assert.equal(12, decode " 12 ")
    assert.equal(-1.5e3, decode "-1.5e3")
    assert.equal("\195\164\n", decode [["\u00e4\n"]])
  end)

  it("keeps integers integers", function()
    assert.equal("/user/7", "/user/" .. decode "7")
    assert.equal("/user/7", "/user/" .. decode('{"id":7}').id)
    if integers then assert.equal("integer", math.type(decode "7")) end
  end)

  it("loses no digit", function()
    assert.equal("9007199254740991", ("%d"):format(decode "9007199254740991"))
    if integers then
      assert.equal("9223372036854775807", tostring(decode "9223372036854775807"))
      assert.equal("-9223372036854775808", tostring(decode "-9223372036854775808"))
    else
      assert.equal("9007199254740993", decode "9007199254740993")
      assert.equal("-9223372036854775808", decode "-9223372036854775808")
    end
    assert.equal("9223372036854775808", decode "9223372036854775808")
    assert.equal("123456789012345678901234567890", decode "123456789012345678901234567890")
    assert.equal("1e999", decode "1e999")
  end)

  it("reads objects and lists", function()
    assert.same({ a = { 1, 2, { b = "c" } }, d = {} }, decode '{"a":[1,2,{"b":"c"}],"d":{}}')
    assert.equal('{"l":[]}', encode(decode '{"l":[]}'))
    assert.equal('{"o":{}}', encode(decode '{"o":{}}'))
    local list = decode "[null,1]"
    assert.equal(discover.null, list[1])
    assert.equal(2, #list)
  end)

  it("names where it went wrong", function()
    for _, text in ipairs {
      "", "{", "[1,]", '{"a" 1}', "nul", "1 2", '"\255"', "[1}", "NaN", "'x'", "{1:2}", '"a\0b"',
    } do
      local value, why, code = decode(text)
      assert.is_nil(value)
      assert.matches("^invalid: json: .* at byte %d+$", why)
      assert.equal("invalid", code)
    end
  end)

  it("stops at 100 levels", function()
    assert.is_table(decode(("["):rep(100) .. ("]"):rep(100)))
    local _, why = decode(("["):rep(101) .. ("]"):rep(101))
    assert.matches("more than 100 levels", why)
    _, why = decode(('{"a":'):rep(200000))
    assert.matches("more than 100 levels", why)
  end)
end)

describe("#api json, encoding", function()
  it("writes scalars", function()
    assert.equal('"x\\n\\"/"', encode 'x\n"/')
    assert.equal("true", encode(true))
    assert.equal("null", encode(discover.null))
    assert.equal("7", encode(7))
    assert.equal("5", encode(10 / 2))
    assert.equal("-3", encode(-3))
  end)

  it("writes floats with the digits they need", function()
    assert.equal("0.1", encode(0.1))
    assert.equal("1.5", encode(1.5))
    for _, number in ipairs { 1 / 3, 0.1 + 0.2, 1e300, 5e-324, 2 ^ 60 + 0.0, 123456789.123 } do
      assert.equal(number, tonumber(encode(number)))
    end
    assert.equal("9007199254740991", encode(9007199254740991))
    if integers then assert.equal("9223372036854775807", encode(math.maxinteger)) end
  end)

  it("tells lists from objects", function()
    assert.equal("{}", encode {})
    assert.equal("[]", encode(discover.array {}))
    assert.equal("[]", encode(discover.array()))
    assert.equal("[1,2]", encode { 1, 2 })
    assert.equal('{"a":[{"b":1}]}', encode { a = { { b = 1 } } })
    assert.equal("[null]", encode { discover.null })
    if integers then assert.equal("[1,2]", encode { [1.0] = 1, [2.0] = 2 }) end
  end)

  it("refuses, naming the path", function()
    refused("a.b[2]: function cannot be encoded", { a = { b = { 1, print } } })
    refused("x: NaN is no JSON number", { x = 0 / 0 })
    refused("infinity is no JSON number", 1 / 0)
    refused("infinity is no JSON number", -1 / 0)
    refused("l: a list with holes", { l = { 1, nil, 3, [5] = 1 } })
    refused("string keys and list indices are mixed", { 1, a = 2 })
    refused("a list with string keys", discover.array { a = 1 })
    refused("a key is neither a string nor a list index, but a boolean", { [true] = 1 })
    refused("a key is neither a string nor a list index, but a number", { [1.5] = 1 })
    refused("a key is neither a string nor a list index, but a number", { [0] = 1 })
    refused("s: the string is not UTF-8", { s = "\255" })
    refused("?: the key is not UTF-8", { ["\255"] = 1 })
    refused("io: userdata cannot be encoded", { io = io.stdout })
    refused("t: thread cannot be encoded", { t = coroutine.create(function() end) })
  end)

  it("stops at 100 levels and at cycles", function()
    local deep = {}
    for _ = 1, 99 do deep = { deep } end
    assert.is_string(encode(deep))
    local text, why = encode { deep }
    assert.is_nil(text)
    assert.matches("more than 100 levels", why)
    local cycle = {}
    cycle.again = cycle
    assert.matches("more than 100 levels", select(2, encode(cycle)))
  end)

  it("reads back what it wrote", function()
    local value = { a = { 1, 2.5, "x", false }, b = { c = discover.null }, d = "\226\130\172" }
    assert.same(value, decode(encode(value)))
  end)

  it("marks only tables as lists", function()
    assert.error_matches(function() discover.array "x" end, "table expected, got string")
  end)
end)
