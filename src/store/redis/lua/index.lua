-- The index of a principal is a sorted set. A member is the handle of a session and the text of its key, 16 and 43
-- bytes; its score is the deadline of the session, which may be later than the score by at most SLACK.
local SLACK, LONGEST = 3600000, 3153600000000

local function number(bytes)
  local n = 0
  for i = 1, 8 do n = n * 256 + bytes:byte(i) end
  return n
end

-- ARGV[1] is the time, in every script.
local now = number(ARGV[1])

-- Keeps the index as long as its last session.
local function extend_ttl(index)
  local last = redis.call('ZRANGE', index, -1, -1, 'WITHSCORES')[2]
  if not last then return end
  local left = math.min(math.max(tonumber(last) - now, 0) + SLACK, LONGEST)
  redis.call('PEXPIRE', index, string.format('%.0f', left))
end

-- Adds a member, or sets its score to the deadline; with `GT` never to an earlier one. Removes a few expired members.
local function index_add(index, member, deadline, how)
  local past = string.format('%.0f', now - SLACK)
  local over = redis.call('ZRANGE', index, '-inf', past, 'BYSCORE', 'LIMIT', 0, 8)
  if over[1] then redis.call('ZREM', index, unpack(over)) end
  -- A deadline beyond the exact integers of a double is infinite.
  local score = number(deadline)
  score = score <= 2 ^ 53 and string.format('%.0f', score) or '+inf'
  redis.call('ZADD', index, how or 'CH', score, member)
  extend_ttl(index)
end
