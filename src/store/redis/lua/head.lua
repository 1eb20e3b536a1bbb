-- An entry is a letter for its kind, three numbers of eight bytes (version, last seen, deadline), for a session of a
-- principal its owner (the hash of the principal in 32 bytes, the handle in 16), and a body. Numbers are compared as
-- bytes: Lua's own are doubles, and its `<` on strings follows the locale.
local function is_later(a, b)
  for i = 1, 8 do
    local x, y = a:byte(i), b:byte(i)
    if x ~= y then return x > y end
  end
  return false
end

local function owner_of(entry)
  local kind = entry:sub(1, 1)
  return (kind == 'P' or kind == 'Q') and entry:sub(26, 73) or nil
end

-- KEYS[1] is the key of the entry and ARGV[1] the time, in every script.
local head = redis.call('GETRANGE', KEYS[1], 0, 72)
local kind, owner = head:sub(1, 1), owner_of(head)
-- A value that is too short for an entry exists but is not live, so that it is returned and rejected.
local is_there = head ~= '' and kind ~= 'D' and (#head < 25 or is_later(head:sub(18, 25), ARGV[1]))
local is_session = kind == 'L' or kind == 'S' or owner and #owner == 48
local function is_live(version)
  return is_there and is_session and head:sub(2, 9) == version
end

-- Writes the entry that replaces the session. Where a renewal in two steps has placed the session, a delayed repetition
-- must not place it again: the entry stays for longer than any command can be in flight.
local was_placed, LONGEST_FLIGHT = kind == 'S' or kind == 'Q', 300000
local function leave(entry, ttl)
  if was_placed and tonumber(ttl) < LONGEST_FLIGHT then ttl = LONGEST_FLIGHT end
  redis.call('SET', KEYS[1], entry, 'PX', ttl)
end

-- Returns the member of a session in an index.
local function member(owner, key)
  return owner:sub(33) .. key:sub(-43)
end
