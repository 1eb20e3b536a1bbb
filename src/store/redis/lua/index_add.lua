-- KEYS: that of an index
-- ARGV: now, member, deadline
index_add(KEYS[1], ARGV[2], ARGV[3], 'GT')
return 1
