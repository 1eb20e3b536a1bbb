-- KEYS: that of an index
-- ARGV: now, a handle or nothing, members
-- Returns the remaining members with the handle.
for i = 3, #ARGV do redis.call('ZREM', KEYS[1], ARGV[i]) end
local others = {}
if ARGV[2] ~= '' then
  for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    if member:sub(1, 16) == ARGV[2] then others[#others + 1] = member end
  end
end
extend_ttl(KEYS[1])
return others
