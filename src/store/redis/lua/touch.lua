-- ARGV: now, expected version, last seen, deadline, time to live, whether the index has the deadline
if not is_there then return false end
if not is_live(ARGV[2]) then return redis.call('GET', KEYS[1]) end
local seen, deadline = head:sub(10, 17), head:sub(18, 25)
local lives_longer = is_later(ARGV[4], deadline)
-- The index must be written first.
if owner and ARGV[6] == '' and number(ARGV[4]) - number(deadline) > SLACK then return {0, owner} end
local done = owner and {1, owner} or 1
if is_later(ARGV[3], seen) then seen = ARGV[3] elseif not lives_longer then return done end
if lives_longer then deadline = ARGV[4] end
redis.call('SETRANGE', KEYS[1], 9, seen .. deadline)
-- Only extended: the entry may have been written by a node with another clock.
if lives_longer then redis.call('PEXPIRE', KEYS[1], ARGV[5], 'GT') end
return done
