-- ARGV: now, entry, its time to live
-- The mark of a deleted entry is in the way too: a renewal that arrives late must not bring back what it once placed.
if is_live(ARGV[2]:sub(2, 9)) then return 2 end
if is_there or kind == 'D' then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
