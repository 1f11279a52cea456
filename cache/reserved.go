package cache

import "time"

// spared is what Reserve has of what is not in memory, if it could not be made anew just now. Then
// that is not tried again.
func (w *work) spared() (Served, bool) {
	if w.reserve == nil {
		return Served{}, false
	}
	failed, ok := w.reserve.spares(w.key, time.Now().UnixMilli())
	if !ok {
		return Served{}, false
	}
	return w.bring(failed)
}

// fromReserve is the same after it could not be made at a time.
func (w *work) fromReserve(failed int64) (Served, bool) {
	if w.reserve == nil {
		return Served{}, false
	}
	w.reserve.note(w.key, failed)
	return w.bring(failed)
}

// bring has in memory again what is in Reserve, if it is of use.
func (w *work) bring(failed int64) (Served, bool) {
	w.at("reserve")
	e := w.reserve.read(w.ctx(), &w.request)
	w.at("reserve has read")
	if e == nil {
		return Served{}, false
	}
	now := time.Now().UnixMilli()
	state := w.reserveState(e, now)
	if state == Miss {
		w.reserve.misses.Add(1)
		return Served{}, false
	}
	w.reserve.hits.Add(1)
	e.failed.Store(failed)
	// Somebody may have put a newer one there.
	if w.memory.find(w.key) == nil {
		w.memory.put(e)
	}
	return Served{State: state, Answer: e.answer}, true
}

// reserveState says as what e may be served. What Shared has said of its tags is known if it has
// answered; else e goes by what this process was told, as if it had been in memory all the time.
func (w *work) reserveState(e *entry, now int64) State {
	if w.gens.standing(&e.stamp) == gone {
		return Miss
	}
	if w.loaded {
		if !e.stamp.sameAs(&w.stamp) {
			return Miss
		}
		e.stamp = w.stamp
	} else if w.link != nil {
		e.alone.Store(now)
	}
	is := w.gens.standing(&e.stamp)
	if state := w.judge(e, now, is); state != Miss {
		return state
	}
	if helps(e, now, is) {
		return StaleOnError
	}
	return Miss
}
