-- ARGV: now, version
if is_live(ARGV[2]) then redis.call('DEL', KEYS[1]) end
return 1
