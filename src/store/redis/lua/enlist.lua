-- KEYS: that of an index
-- ARGV: now, member, deadline
enlist(KEYS[1], ARGV[2], ARGV[3], 'GT')
return 1
