-- An entry is a letter for its kind, three numbers of eight bytes (version, last seen, deadline), and a body.
-- Numbers are compared as bytes: Lua's own are doubles, and its `<` on strings follows the locale.
local function is_later(a, b)
  for i = 1, 8 do
    local x, y = a:byte(i), b:byte(i)
    if x ~= y then return x > y end
  end
  return false
end

-- KEYS[1] is the key of the entry and ARGV[1] the time, in every script.
local head = redis.call('GETRANGE', KEYS[1], 0, 24)
local kind = head:sub(1, 1)
-- What is too short to be an entry is there and not live, so that it is handed back and refused.
local is_there = head ~= '' and kind ~= 'D' and (#head < 25 or is_later(head:sub(18, 25), ARGV[1]))
local function is_live(version)
  return is_there and (kind == 'L' or kind == 'S') and head:sub(2, 9) == version
end
