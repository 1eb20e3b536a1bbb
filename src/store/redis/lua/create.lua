-- ARGV: now, entry, its time to live
if is_there then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
