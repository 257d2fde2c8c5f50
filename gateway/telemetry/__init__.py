"""What people see of the gateway at work: logs and metrics, with secrets masked."""
