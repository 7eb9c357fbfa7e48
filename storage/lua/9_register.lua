-- Steps that let a Redis that is full drain, or take nothing more than a little, work there too (allow-oom).
redis.register_function('nb_decide', decide)
redis.register_function{ function_name = 'nb_claim', callback = claim, flags = { 'allow-oom' } }
redis.register_function('nb_feedback', feedback)
redis.register_function{ function_name = 'nb_release', callback = release, flags = { 'allow-oom' } }
redis.register_function{ function_name = 'nb_expire', callback = expire, flags = { 'allow-oom' } }
redis.register_function{ function_name = 'nb_withdraw', callback = withdraw, flags = { 'allow-oom' } }
redis.register_function('nb_append', append)
redis.register_function{ function_name = 'nb_fold', callback = fold, flags = { 'allow-oom' } }
redis.register_function{ function_name = 'nb_put', callback = put, flags = { 'allow-oom' } }
redis.register_function{ function_name = 'nb_reset', callback = reset, flags = { 'allow-oom' } }
redis.register_function{ function_name = 'nb_own', callback = own, flags = { 'allow-oom' } }
redis.register_function{ function_name = 'nb_disown', callback = disown, flags = { 'allow-oom' } }
redis.register_function{ function_name = 'nb_replace', callback = replace, flags = { 'allow-oom' } }
redis.register_function('nb_restore', restore)
redis.register_function('nb_event', record_event)
redis.register_function('nb_restore_events', restore_events)
redis.register_function('nb_redirect', redirect)
redis.register_function('nb_unite', unite)
redis.register_function('nb_absorb', absorb)
redis.register_function{ function_name = 'nb_handed_over', callback = handed_over, flags = { 'allow-oom' } }
redis.register_function('nb_open', open_pool)
redis.register_function('nb_lease', lease)
redis.register_function{ function_name = 'nb_return', callback = return_lease, flags = { 'allow-oom' } }
redis.register_function{ function_name = 'nb_settle', callback = end_lease, flags = { 'allow-oom' } }
redis.register_function{ function_name = 'nb_released', callback = count_released, flags = { 'allow-oom' } }
redis.register_function{ function_name = 'nb_price', callback = price_units, flags = { 'allow-oom' } }
redis.register_function('nb_decide_within', decide_within)
redis.register_function('nb_reserve', reserve)
redis.register_function{ function_name = 'nb_standing', callback = standing, flags = { 'no-writes' } }
redis.register_function{ function_name = 'nb_settle_household', callback = settle_household, flags = { 'allow-oom' } }
redis.register_function('nb_keep_in_household', keep_in_household)
redis.register_function('nb_share', share)
redis.register_function('nb_disguise', disguise)
redis.register_function('nb_resume', resume)
redis.register_function{ function_name = 'nb_mark_whole', callback = mark_whole, flags = { 'allow-oom' } }
redis.register_function{ function_name = 'nb_note_use', callback = note_use, flags = { 'allow-oom' } }
redis.register_function('nb_rewrite', rewrite)
redis.register_function('nb_pseudonymise', pseudonymise)
