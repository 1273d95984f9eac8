//! What every implementation of a port must do, in the cloud and on the laptop. A double
//! that has not passed this will lie one day.
