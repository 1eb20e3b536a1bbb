-- ARGV: now, entry, its time to live
-- Any other entry blocks the key, even one that has expired: a delayed renewal must not revive the session that it once
-- placed.
if is_live(ARGV[2]:sub(2, 9)) then return 2 end
if head ~= '' then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
