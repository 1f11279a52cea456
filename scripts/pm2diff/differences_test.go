package pm2diff

// differences are those that are meant.
var differences = []difference{}
